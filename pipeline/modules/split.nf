process SPLIT {
    label 'process_single'

    input:
    path cohorts
    val settings // map: folds, repeats, seed, protocol, label_column, min_events
    val _code    // hash of the code that this stage imports

    output:
    path 'splits', emit: splits
    path 'splits/jobs.tsv', emit: jobs
    path 'splits/encoders.tsv', emit: encoders

    script:
    """
    brb-split --cohorts ${cohorts} --folds ${settings.folds} --repeats ${settings.repeats} --seed ${settings.seed} \\
        --protocol ${settings.protocol} --label-column '${settings.label_column}' \\
        --min-events ${settings.min_events} --out splits
    """

    stub:
    """
    mkdir splits
    touch splits/splits.tsv
    printf 'task\\treason\\n' > splits/skipped.tsv
    printf 'task\\tscope\\tlabel_column\\ncancer_type\\tpan\\tcohort\\nsurvival\\tpan\\t\\n' > splits/jobs.tsv
    printf 'split_id\\nr0f0\\nr0f1\\n' > splits/encoders.tsv
    """
}
