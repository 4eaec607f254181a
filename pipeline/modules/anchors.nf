process ANCHORS {
    tag "${scope}"
    label 'process_gpu'
    label 'process_high'

    input:
    val scope     // `pan` or a cohort
    tuple path(checkpoints), path(tokens, stageAs: 'tokens/?/*') // a folder an encoder, and its tokens
    path cohorts
    path splits
    val settings  // map: anchor_panel, anchors, bootstrap, seed
    val _code     // hash of the code that this stage imports

    output:
    path "anchors.${scope}", emit: folder
    path "anchors.${scope}.json", emit: numbers

    script:
    def checkpoint_flags = (checkpoints instanceof List ? checkpoints : [checkpoints]).collect { folder -> "--checkpoint ${folder}" }.join(' ')
    def token_flags = (tokens instanceof List ? tokens : [tokens]).collect { folder -> "--tokens ${folder}" }.join(' ')
    """
    export OMP_NUM_THREADS=${task.cpus}
    brb-anchors ${checkpoint_flags} ${token_flags} --cohorts ${cohorts} --splits ${splits}/splits.tsv --scope '${scope}' \\
        --panel-size ${settings.anchor_panel} --anchors ${settings.anchors} --resamples ${settings.bootstrap} \\
        --seed ${settings.seed} --out anchors.${scope}
    cp anchors.${scope}/anchors.json anchors.${scope}.json
    """

    stub:
    """
    mkdir anchors.${scope}
    echo '{}' > anchors.${scope}.json
    """
}
