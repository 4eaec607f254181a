process SYNTH {
    label 'process_single'

    input:
    val settings // map: study_patients, study_genes, study_probes, seed
    val _code    // hash of the code that this stage imports

    output:
    path 'study.json', emit: study
    path 'annotation/probes.annotation.tsv', emit: probes // where the study's methylation probes lie

    script:
    """
    brb-synth --out study.json --seed ${settings.seed} \\
        --patients-per-cohort ${settings.study_patients} --genes ${settings.study_genes} \\
        --probes ${settings.study_probes} --annotation-out annotation
    """

    stub:
    """
    mkdir annotation
    touch annotation/probes.annotation.tsv
    echo '{"kind": "synthetic-study", "version": 1, "seed": ${settings.seed}}' > study.json
    """
}
