process BIOMARKERS {
    label 'process_gpu'
    label 'process_high'

    input:
    tuple path(checkpoints), path(tokens, stageAs: 'tokens/?/*') // a folder an encoder, and its tokens
    path cohorts
    path gmt      // gene sets, possibly none
    val settings  // map: label_column, seed
    val _code     // hash of the code that this stage imports

    output:
    path 'biomarkers', emit: folder
    path 'biomarkers.json', emit: numbers

    script:
    def checkpoint_flags = Flags.repeated('--checkpoint', checkpoints)
    def token_flags = Flags.repeated('--tokens', tokens)
    """
    export OMP_NUM_THREADS=${task.cpus}
    brb-biomarkers ${checkpoint_flags} ${token_flags} --clinical ${cohorts}/clinical.tsv --genes ${cohorts}/genes.tsv \\
        --label-column '${settings.label_column}' ${gmt ? "--gmt ${gmt}" : ''} --seed ${settings.seed} --out biomarkers
    cp biomarkers/biomarkers.json biomarkers.json
    """

    stub:
    """
    mkdir biomarkers
    echo '{}' > biomarkers.json
    """
}
