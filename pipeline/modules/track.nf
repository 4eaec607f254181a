process TRACK {
    label 'process_single'
    debug true // shows what is written to standard output: that a server did not take the run

    input:
    path numbers
    path checkpoints
    val run_json   // text: version, revision, parameters
    val server     // address of an MLflow server that gets the run as well, or ''
    val _code      // hash of the code that this stage imports

    output:
    path 'mlflow', emit: mlflow

    script:
    def server_flag = server ? "--tracking-uri '${server}'" : ''
    """
    cat > run.json <<'RUN_JSON'
    ${run_json}
    RUN_JSON
    status=0
    brb-track --metrics ${numbers}/metrics.json \\
        \$(for folder in ${checkpoints}; do printf -- '--checkpoint %s ' "\$folder"; done) \\
        --run run.json ${server_flag} --out mlflow 2> server.log || status=\$?
    cat server.log >&2
    # The folder takes its name when it is whole; what fails after that with 1 is the sending, and the results are there.
    if [ \$status = 1 ] && [ -d mlflow ]; then
        cp server.log mlflow
        echo "WARN: the results are complete, but not on the MLflow server (mlflow/server.log). \$(grep '^Error: ' server.log || :)"
    else
        exit \$status
    fi
    """

    stub:
    """
    mkdir mlflow
    touch mlflow/mlflow.db
    """
}
