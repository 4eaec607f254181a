process PANELS {
    tag "${meta.id}"
    label 'process_gpu'
    label 'process_high'

    input:
    tuple val(meta), path(checkpoints), path(tokens, stageAs: 'tokens/?/*') // id, size (null: all that the data allow), chooser; a folder an encoder, and its tokens
    path cohorts
    path splits
    path genes    // own panel, possibly none
    val settings  // map: label_column, baselines, bootstrap, seed
    val _code     // hash of the code that this stage imports

    output:
    path "panels.${meta.id}", emit: folder
    path "panels.${meta.id}.json", emit: numbers

    script:
    def name = "panels.${meta.id}"
    def size_flag = meta.size ? "--size ${meta.size}" : ''
    def checkpoint_flags = Flags.repeated('--checkpoint', checkpoints)
    def token_flags = Flags.repeated('--tokens', tokens)
    def genes_flag = meta.chooser == 'list' ? "--genes ${genes}" : ''
    """
    export OMP_NUM_THREADS=${task.cpus}
    brb-panels ${checkpoint_flags} ${token_flags} --cohorts ${cohorts} --splits ${splits}/splits.tsv \\
        ${size_flag} --chooser ${meta.chooser} ${genes_flag} --label-column '${settings.label_column}' \\
        --baselines ${settings.baselines == 'all' ? 'all' : 'fast'} --resamples ${settings.bootstrap} \\
        --seed ${settings.seed} --out ${name}
    cp ${name}/panels.json ${name}.json
    """

    stub:
    """
    mkdir panels.${meta.id}
    echo '{}' > panels.${meta.id}.json
    """
}
