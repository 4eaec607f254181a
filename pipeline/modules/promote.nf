process PROMOTE {
    label 'process_low'

    input:
    path champion, stageAs: 'champion/predictions/?/*'     // one folder a job
    path champion_encoders, stageAs: 'champion/encoders/*'
    path challenger, stageAs: 'challenger/predictions/?/*'
    path challenger_encoders, stageAs: 'challenger/encoders/*'
    path cohorts
    path changes                                           // what was new
    val settings                                           // map: margin, bootstrap, seed, mlflow_uri
    val _code                                              // hash of the code that this stage imports

    output:
    path 'decision', emit: decision

    script:
    def command = "brb-promote --champion champion --challenger challenger --cohorts ${cohorts} --changes ${changes}/CHANGES.md " +
        "--margin ${settings.margin} --bootstrap ${settings.bootstrap} --seed ${settings.seed} --out decision"
    if (settings.mlflow_uri) {
        // The decision does not depend on the registry: without registry.json it has not followed, and registry.log says why.
        """
        ${command} --tracking-uri '${settings.mlflow_uri}' 2> registry.log || {
            ${command}
            cp registry.log decision
        }
        cat registry.log >&2
        """
    }
    else {
        command
    }

    stub:
    """
    mkdir decision
    echo '{"promote": false, "reason": "stub"}' > decision/decision.json
    touch decision/DECISION.md
    """
}
