process PREPROCESS {
    label 'process_low'

    input:
    path raw                                // folders of the downloads, possibly none
    path sheet                              // samplesheet of own files, possibly none
    path sheet_files, stageAs: 'own/?/*'    // what the sheet names: mounted in containers, and part of the task's hash
    path vocabulary
    path gene_lengths
    val settings                            // map: endpoint, cohort_column, sample_types
    val _code                               // hash of the code that this stage imports

    output:
    path 'cohorts', emit: cohorts

    script:
    def raw_flags = (raw instanceof List ? raw : [raw]).collect { folder -> "--raw ${folder}" }.join(' ')
    def sheet_flag = sheet ? "--samplesheet ${sheet}" : ''
    def vocabulary_flag = vocabulary ? "--vocabulary ${vocabulary}" : ''
    def lengths_flag = gene_lengths ? "--gene-lengths ${gene_lengths}" : ''
    def normals_flag = settings.sample_types == 'all' ? '--normals' : ''
    """
    brb-preprocess ${raw_flags} ${sheet_flag} ${vocabulary_flag} ${lengths_flag} ${normals_flag} \\
        --endpoint ${settings.endpoint} --cohort-column '${settings.cohort_column}' --out cohorts
    """

    stub:
    """
    mkdir cohorts
    touch cohorts/stub.rnaseq.parquet cohorts/genes.tsv cohorts/clinical.tsv cohorts/rejected.tsv
    echo '{"cohorts": [], "rejected": [], "genes": {}}' > cohorts/summary.json
    """
}
