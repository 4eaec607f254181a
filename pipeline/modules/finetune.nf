process FINETUNE {
    tag "${JobGroups.name(jobs)}"
    label 'process_gpu'
    label 'process_high'

    input:
    // maps of id, model, task, scope, label_column, adapter, start, done in turn; a folder an encoder, and its tokens, matched by its split
    tuple val(jobs), path(checkpoints), path(tokens, stageAs: 'tokens/?/*')
    path cohorts
    path splits
    path task_config
    val settings     // map: task_preset, seed
    val _code        // hash of the code that this stage imports

    output:
    tuple val(jobs), path('jobs/*', arity: '1..*'), emit: finetuned

    script:
    def checkpoint_flags = Flags.repeated('--checkpoint', checkpoints)
    def token_flags = Flags.repeated('--tokens', tokens)
    def config_flag = task_config ? "--task-config ${task_config}" : "--preset ${settings.task_preset}"
    def commands = jobs.collect { job ->
        def label_flag = job.label_column ? "--label-column '${job.label_column}'" : ''
        "finetune ${checkpoint_flags} ${token_flags} --cohorts ${cohorts} --splits ${splits}/splits.tsv --task ${job.task} --scope '${job.scope}' ${label_flag} --adapter ${job.adapter} --start ${job.start} ${config_flag} --seed ${settings.seed} --threads ${task.cpus} --out jobs/${job.id}"
    }
    """
    mkdir jobs
    in-turn <<'COMMANDS'
    ${commands.join('\n    ')}
    COMMANDS
    """

    stub:
    """
    for id in ${jobs.collect { job -> job.id }.join(' ')}; do
        mkdir -p jobs/\$id/model
        touch jobs/\$id/predictions.parquet jobs/\$id/model/config.json
    done
    """
}
