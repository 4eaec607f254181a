process BASELINES {
    tag "${JobGroups.name(jobs)}"
    label 'process_low'

    input:
    val jobs      // maps of id, task, scope, label_column, done in turn
    path cohorts
    path splits
    val settings  // map: seed, baselines, modalities
    val _code     // hash of the code that this stage imports

    output:
    tuple val(jobs), path('jobs/*', arity: '1..*'), emit: predictions

    script:
    def modality_flags = Flags.repeated('--modality', settings.modalities.tokenize(','))
    def commands = jobs.collect { job ->
        def label_flag = job.label_column ? "--label-column '${job.label_column}'" : ''
        "probe --cohorts ${cohorts} --splits ${splits}/splits.tsv --task ${job.task} --scope '${job.scope}' ${label_flag} ${modality_flags} --seed ${settings.seed} --baselines ${settings.baselines} --out jobs/baselines.${job.id}/predictions.parquet"
    }
    """
    export OMP_NUM_THREADS=${task.cpus}
    mkdir -p ${jobs.collect { job -> "jobs/baselines.${job.id}" }.join(' ')}
    in-turn <<'COMMANDS'
    ${commands.join('\n    ')}
    COMMANDS
    """

    stub:
    """
    for id in ${jobs.collect { job -> job.id }.join(' ')}; do
        mkdir -p jobs/baselines.\$id
        touch jobs/baselines.\$id/predictions.parquet
    done
    """
}
