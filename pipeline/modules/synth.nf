process SYNTH {
    label 'process_single'

    input:
    val settings // map: study_patients, study_genes, seed
    val _code    // hash of the code that this stage imports

    output:
    path 'study.json', emit: study

    script:
    """
    brb-synth --out study.json --seed ${settings.seed} \\
        --patients-per-cohort ${settings.study_patients} --genes ${settings.study_genes}
    """

    stub:
    """
    echo '{"kind": "synthetic-study", "version": 1, "seed": ${settings.seed}}' > study.json
    """
}
