// Never cached: it is what tells Nextflow that a stage's Python code was edited.
process FINGERPRINT {
    label 'process_single'
    cache false

    output:
    path 'code.json', emit: hashes

    script:
    """
    brb-fingerprint --out code.json \\
        synth download doctor preprocess split tokenize pretrain embed probe finetune attribute cross-modal panels impute-benchmark anchors biomarkers \\
        evaluate report track \\
        update promote
    """

    stub:
    """
    echo '{"synth": "stub", "download": "stub", "doctor": "stub", "preprocess": "stub", "split": "stub", "tokenize": "stub",' > code.json
    echo '"pretrain": "stub", "embed": "stub", "probe": "stub", "finetune": "stub", "attribute": "stub", "cross-modal": "stub", "panels": "stub", "impute-benchmark": "stub", "anchors": "stub", "biomarkers": "stub", "evaluate": "stub", "report": "stub", "track": "stub", "update": "stub", "promote": "stub"}' >> code.json
    """
}
