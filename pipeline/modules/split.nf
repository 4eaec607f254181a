process SPLIT {
    label 'process_single'

    input:
    path cohorts
    path published // splits that somebody published, or those of the champion, possibly none
    val settings   // map: folds, repeats, seed, protocol, label_column, min_events, leave_out, published_form, modality
    val _code      // hash of the code that this stage imports

    output:
    path 'splits', emit: splits
    path 'splits/jobs.tsv', emit: jobs
    path 'splits/encoders.tsv', emit: encoders

    script:
    def repeats_flag = settings.repeats ? "--repeats ${settings.repeats}" : ''
    def left_out_flags = settings.leave_out ? settings.leave_out.tokenize(',').collect { cohort -> "--leave-out '${cohort}'" }.join(' ') : ''
    def published_flag = published && settings.published_form == 'frozen' ? "--frozen ${published}" : published ? "--published ${published} --form ${settings.published_form}" : ''
    """
    brb-split --cohorts ${cohorts} --folds ${settings.folds} ${repeats_flag} --seed ${settings.seed} \\
        --protocol ${settings.protocol} --label-column '${settings.label_column}' \\
        --min-events ${settings.min_events} --modality ${settings.modality} ${left_out_flags} ${published_flag} --out splits
    """

    stub:
    """
    mkdir splits
    touch splits/splits.tsv
    printf 'task\\treason\\n' > splits/skipped.tsv
    printf 'task\\tscope\\tlabel_column\\tn_samples\\ncancer_type\\tpan\\tcohort\\t48\\nsurvival\\tpan\\t\\t40\\nsurvival\\tTCGA-SYNA\\t\\t20\\n' > splits/jobs.tsv
    printf 'split_id\\nr0f0\\nr0f1\\n' > splits/encoders.tsv
    """
}
