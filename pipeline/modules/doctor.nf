process DOCTOR {
    label 'process_low'

    input:
    path sheet
    path sheet_files, stageAs: 'own/?/*'    // as in PREPROCESS
    path vocabulary
    path annotation
    path gene_lengths
    val _code                               // hash of the code that this stage imports

    output:
    path 'doctor.json', emit: diagnosis

    script:
    def flags = [vocabulary ? "--vocabulary ${vocabulary}" : '', annotation ? "--annotation ${annotation}" : '',
                 gene_lengths ? "--gene-lengths ${gene_lengths}" : ''].join(' ')
    // A no-go (status 2) is shown in the report; whether the run can go on is for PREPROCESS to say.
    """
    brb-doctor --samplesheet ${sheet} ${flags} --out doctor.json || { status=\$?; test -s doctor.json || exit \$status; }
    """

    stub:
    """
    echo '[]' > doctor.json
    """
}
