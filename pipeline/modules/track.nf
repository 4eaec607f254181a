process TRACK {
    label 'process_single'

    input:
    path numbers
    path checkpoints
    val run_json   // text: version, revision, parameters
    val server     // address of an MLflow server to import into as well, or ''
    val _code      // hash of the code that this stage imports

    output:
    path 'mlflow', emit: mlflow

    script:
    def server_flag = server ? "--tracking-uri '${server}'" : ''
    """
    cat > run.json <<'RUN_JSON'
    ${run_json}
    RUN_JSON
    brb-track --metrics ${numbers}/metrics.json \\
        \$(for folder in ${checkpoints}; do printf -- '--checkpoint %s ' "\$folder"; done) \\
        --run run.json ${server_flag} --out mlflow
    """

    stub:
    """
    mkdir mlflow
    touch mlflow/mlflow.db
    """
}
