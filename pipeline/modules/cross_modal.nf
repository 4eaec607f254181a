process CROSS_MODAL {
    tag "${meta.id}"
    label 'process_gpu'
    label 'process_high'

    input:
    tuple val(meta), path(checkpoint), path(tokens) // id, model, split_id
    val _code                                       // hash of the code that this stage imports

    output:
    path "${meta.id}.cross_modal.json", emit: restored

    script:
    """
    export OMP_NUM_THREADS=${task.cpus}
    brb-cross-modal --checkpoint ${checkpoint} --tokens ${tokens} --out ${meta.id}.cross_modal.json
    """

    stub:
    """
    echo '{}' > ${meta.id}.cross_modal.json
    """
}
