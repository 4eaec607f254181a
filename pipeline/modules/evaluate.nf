process EVALUATE {
    label 'process_low'

    input:
    path predictions // one folder a probing job
    path splits
    path cohorts
    path embeddings
    path checkpoints
    val settings     // map: protocol, seed, bootstrap
    val _code        // hash of the code that this stage imports

    output:
    path 'numbers', emit: numbers

    script:
    """
    export OMP_NUM_THREADS=${task.cpus} NUMBA_CACHE_DIR=\$PWD/.numba
    brb-evaluate \\
        \$(for folder in ${predictions}; do printf -- '--predictions %s/predictions.parquet ' "\$folder"; done) \\
        \$(for file in ${embeddings}; do printf -- '--embeddings %s ' "\$file"; done) \\
        \$(for folder in ${checkpoints}; do printf -- '--checkpoint-provenance %s/provenance.json ' "\$folder"; done) \\
        --splits ${splits}/splits.tsv --skipped ${splits}/skipped.tsv --cohorts ${cohorts} \\
        --protocol ${settings.protocol} --seed ${settings.seed} --bootstrap ${settings.bootstrap} --out numbers
    """

    stub:
    """
    mkdir numbers
    touch numbers/metrics.json numbers/results.csv
    """
}
