process REPORT {
    label 'process_single'

    input:
    path numbers
    path cohorts
    path diagnosis // doctor.json, possibly none
    path findings  // json of the analyses that are not made of predictions, possibly none
    path checkpoints
    val run_json // text: version, revision, parameters
    val _code    // hash of the code that this stage imports

    output:
    path 'report/report.html', emit: page
    path 'report/{results.csv,*_mqc.json}', emit: tables

    script:
    """
    cat > run.json <<'RUN_JSON'
    ${run_json}
    RUN_JSON
    brb-report --metrics ${numbers}/metrics.json --embedding-maps ${numbers}/embedding_maps.json \\
        --summary ${cohorts}/summary.json --rejected ${cohorts}/rejected.tsv --survival ${cohorts}/survival.tsv ${diagnosis ? "--doctor ${diagnosis}" : ''} \\
        \$(for file in ${findings}; do printf -- '--findings %s ' "\$file"; done) \\
        \$(for folder in ${checkpoints}; do printf -- '--checkpoint %s ' "\$folder"; done) \\
        --run run.json --out report
    """

    stub:
    """
    mkdir report
    touch report/report.html report/results.csv report/bulkrnabert_mqc.json
    """
}
