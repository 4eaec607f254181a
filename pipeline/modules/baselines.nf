process BASELINES {
    tag "${meta.id}"
    label 'process_low'

    input:
    val meta      // id, task, scope, label_column
    path cohorts
    path splits
    val settings  // map: seed, baselines, modalities
    val _code     // hash of the code that this stage imports

    output:
    tuple val(meta), path("baselines.${meta.id}"), emit: predictions

    script:
    def label_flag = meta.label_column ? "--label-column '${meta.label_column}'" : ''
    def modality_flags = settings.modalities.tokenize(',').collect { modality -> "--modality ${modality}" }.join(' ')
    """
    export OMP_NUM_THREADS=${task.cpus}
    mkdir -p baselines.${meta.id}
    brb-probe --cohorts ${cohorts} --splits ${splits}/splits.tsv --task ${meta.task} --scope '${meta.scope}' \\
        ${label_flag} ${modality_flags} --seed ${settings.seed} --baselines ${settings.baselines} \\
        --out baselines.${meta.id}/predictions.parquet
    """

    stub:
    """
    mkdir baselines.${meta.id}
    touch baselines.${meta.id}/predictions.parquet
    """
}
