process PREPROCESS {
    label 'process_low'

    input:
    path raw                                // folders of the downloads, possibly none
    path sheet                              // samplesheet of own files, possibly none
    path sheet_files, stageAs: 'own/?/*'    // what the sheet names: mounted in containers, and part of the task's hash
    path vocabulary
    path gene_lengths
    path annotation
    path probe_annotation
    path cdr
    val settings                            // map: endpoint, cohort_column, sample_types, merge, zero_time
    val _code                               // hash of the code that this stage imports

    output:
    path 'cohorts', emit: cohorts

    script:
    def raw_flags = Flags.repeated('--raw', raw)
    def flags = [
        sheet ? "--samplesheet ${sheet}" : '',
        vocabulary ? "--vocabulary ${vocabulary}" : '',
        gene_lengths ? "--gene-lengths ${gene_lengths}" : '',
        annotation ? "--annotation ${annotation}" : '',
        probe_annotation ? "--probe-annotation ${probe_annotation}" : '',
        cdr ? "--cdr ${cdr}" : '',
        settings.sample_types == 'all' ? '--normals' : '',
        settings.merge ? "--merge '${settings.merge}'" : ''
    ].join(' ')
    """
    brb-preprocess ${raw_flags} ${flags} --endpoint ${settings.endpoint} --zero-time ${settings.zero_time} \\
        --cohort-column '${settings.cohort_column}' --out cohorts
    """

    stub:
    """
    mkdir cohorts
    touch cohorts/stub.rnaseq.parquet cohorts/genes.tsv cohorts/clinical.tsv cohorts/rejected.tsv
    echo '{"cohorts": [], "rejected": [], "genes": {}}' > cohorts/summary.json
    """
}
