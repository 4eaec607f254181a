process ATTRIBUTE {
    tag "${meta.id}"
    label 'process_gpu'
    label 'process_high'

    input:
    tuple val(meta), path(finetuned, stageAs: 'finetuned') // id, task; the folder that FINETUNE made
    path cohorts
    path gmt     // gene sets, possibly none
    val settings // map: attribute_samples, seed
    val _code    // hash of the code that this stage imports

    output:
    path "${meta.id}", emit: folder
    path "${meta.id}.attribution.json", emit: numbers

    script:
    """
    export OMP_NUM_THREADS=${task.cpus}
    brb-attribute --model ${finetuned}/model --cohorts ${cohorts} --task ${meta.task} ${gmt ? "--gmt ${gmt}" : ''} \\
        --samples ${settings.attribute_samples} --seed ${settings.seed} --out ${meta.id}
    cp ${meta.id}/attribution.json ${meta.id}.attribution.json
    """

    stub:
    """
    mkdir ${meta.id}
    touch ${meta.id}/attributions.tsv
    echo '{}' > ${meta.id}.attribution.json
    """
}
