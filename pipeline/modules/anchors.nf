process ANCHORS {
    tag "${JobGroups.name(jobs)}"
    label 'process_gpu'
    label 'process_high'

    input:
    val jobs      // maps of scope (`pan` or a cohort), done in turn
    tuple path(checkpoints), path(tokens, stageAs: 'tokens/?/*') // a folder an encoder, and its tokens
    path cohorts
    path splits
    val settings  // map: anchor_panel, anchors, bootstrap, seed
    val _code     // hash of the code that this stage imports

    output:
    path 'anchors.*', type: 'dir', emit: folders
    path 'anchors.*.json', emit: numbers

    script:
    def checkpoint_flags = Flags.repeated('--checkpoint', checkpoints)
    def token_flags = Flags.repeated('--tokens', tokens)
    def commands = jobs.collect { job ->
        "anchors ${checkpoint_flags} ${token_flags} --cohorts ${cohorts} --splits ${splits}/splits.tsv --scope '${job.scope}' --panel-size ${settings.anchor_panel} --anchors ${settings.anchors} --resamples ${settings.bootstrap} --seed ${settings.seed} --out 'anchors.${job.scope}'"
    }
    """
    export OMP_NUM_THREADS=${task.cpus}
    in-turn <<'COMMANDS'
    ${commands.join('\n    ')}
    COMMANDS
    for folder in anchors.*; do
        cp "\$folder/anchors.json" "\$folder.json"
    done
    """

    stub:
    """
    for scope in ${jobs.collect { job -> "'${job.scope}'" }.join(' ')}; do
        mkdir "anchors.\$scope"
        echo '{}' > "anchors.\$scope.json"
    done
    """
}
