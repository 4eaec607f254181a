process EMBED {
    tag "${meta.id}"
    label 'process_gpu'
    label 'process_high'

    input:
    tuple val(meta), path(checkpoint)
    path cohorts
    val pooling
    val _code // hash of the code that this stage imports

    output:
    tuple val(meta), path("${meta.id}.h5ad"), emit: embeddings

    script:
    """
    export OMP_NUM_THREADS=${task.cpus}
    brb-embed --checkpoint ${checkpoint} --cohorts ${cohorts} --pooling ${pooling} --out ${meta.id}.h5ad
    """

    stub:
    """
    touch ${meta.id}.h5ad
    """
}
