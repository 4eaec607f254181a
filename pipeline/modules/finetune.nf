process FINETUNE {
    tag "${meta.id}"
    label 'process_gpu'
    label 'process_high'

    input:
    // id, model, task, scope, label_column, adapter, start; a folder an encoder, and its tokens, matched by its split
    tuple val(meta), path(checkpoints), path(tokens, stageAs: 'tokens/?/*')
    path cohorts
    path splits
    path task_config
    val settings     // map: task_preset, seed
    val _code        // hash of the code that this stage imports

    output:
    tuple val(meta), path("${meta.id}"), emit: finetuned

    script:
    def checkpoint_flags = (checkpoints instanceof List ? checkpoints : [checkpoints]).collect { folder -> "--checkpoint ${folder}" }.join(' ')
    def token_flags = (tokens instanceof List ? tokens : [tokens]).collect { folder -> "--tokens ${folder}" }.join(' ')
    def label_flag = meta.label_column ? "--label-column '${meta.label_column}'" : ''
    def config_flag = task_config ? "--task-config ${task_config}" : "--preset ${settings.task_preset}"
    """
    brb-finetune ${checkpoint_flags} ${token_flags} --cohorts ${cohorts} --splits ${splits}/splits.tsv \\
        --task ${meta.task} --scope '${meta.scope}' ${label_flag} --adapter ${meta.adapter} --start ${meta.start} \\
        ${config_flag} --seed ${settings.seed} --threads ${task.cpus} --out ${meta.id}
    """

    stub:
    """
    mkdir -p ${meta.id}/model
    touch ${meta.id}/predictions.parquet ${meta.id}/model/config.json
    """
}
