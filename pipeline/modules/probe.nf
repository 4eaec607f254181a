process PROBE {
    tag "${meta.id}"
    label 'process_low'

    input:
    tuple val(meta), path(embeddings) // id, model, task, scope, label_column; one file an encoder
    path cohorts
    path splits
    val settings                      // map: seed
    val _code                         // hash of the code that this stage imports

    output:
    tuple val(meta), path("${meta.id}"), emit: predictions

    script:
    def embedding_flags = (embeddings instanceof List ? embeddings : [embeddings]).collect { file -> "--embeddings ${file}" }.join(' ')
    def label_flag = meta.label_column ? "--label-column '${meta.label_column}'" : ''
    """
    export OMP_NUM_THREADS=${task.cpus}
    mkdir -p ${meta.id}
    brb-probe --cohorts ${cohorts} --splits ${splits}/splits.tsv ${embedding_flags} \\
        --task ${meta.task} --scope '${meta.scope}' ${label_flag} --seed ${settings.seed} \\
        --baselines none --out ${meta.id}/predictions.parquet
    """

    stub:
    """
    mkdir ${meta.id}
    touch ${meta.id}/predictions.parquet
    """
}
