process IMPUTATION {
    tag "${meta.id}.${meta.pattern}"
    label 'process_gpu'
    label 'process_high'

    input:
    tuple val(meta), path(checkpoint), path(tokens) // id, split_id, pattern, rates
    val settings                                    // map: bootstrap, seed
    val _code                                       // hash of the code that this stage imports

    output:
    path "imputation.${meta.split_id}.${meta.pattern}.json", emit: numbers

    script:
    def rate_flags = Flags.repeated('--rate', meta.rates)
    """
    export OMP_NUM_THREADS=${task.cpus}
    brb-impute-benchmark --checkpoint ${checkpoint} --tokens ${tokens} --pattern ${meta.pattern} ${rate_flags} \\
        --resamples ${settings.bootstrap} --seed ${settings.seed} --out imputation.${meta.split_id}.${meta.pattern}.json
    """

    stub:
    """
    echo '{}' > imputation.${meta.split_id}.${meta.pattern}.json
    """
}
