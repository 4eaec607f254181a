process PROBE {
    tag "${JobGroups.name(jobs)}"
    label 'process_low'

    input:
    tuple val(jobs), path(embeddings) // maps of id, model, task, scope, label_column, done in turn; one file an encoder
    path cohorts
    path splits
    val settings                      // map: seed
    val _code                         // hash of the code that this stage imports

    output:
    tuple val(jobs), path('jobs/*', arity: '1..*'), emit: predictions

    script:
    def embedding_flags = Flags.repeated('--embeddings', embeddings)
    def commands = jobs.collect { job ->
        def label_flag = job.label_column ? "--label-column '${job.label_column}'" : ''
        "probe --cohorts ${cohorts} --splits ${splits}/splits.tsv ${embedding_flags} --task ${job.task} --scope '${job.scope}' ${label_flag} --seed ${settings.seed} --baselines none --out jobs/${job.id}/predictions.parquet"
    }
    """
    export OMP_NUM_THREADS=${task.cpus}
    mkdir -p ${jobs.collect { job -> "jobs/${job.id}" }.join(' ')}
    in-turn <<'COMMANDS'
    ${commands.join('\n    ')}
    COMMANDS
    """

    stub:
    """
    for id in ${jobs.collect { job -> job.id }.join(' ')}; do
        mkdir -p jobs/\$id
        touch jobs/\$id/predictions.parquet
    done
    """
}
