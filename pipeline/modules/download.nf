process DOWNLOAD {
    tag "${project}"
    label 'process_single'
    label 'process_long'

    input:
    val project
    path study   // the synthetic study, or nothing for a real portal
    val settings // map: gdc_api, sample_types
    val _code    // hash of the code that this stage imports

    output:
    path "${project}", emit: raw
    path "${project}/*.{json,tsv}", emit: records

    script:
    def api = study ? "embedded:${study}" : settings.gdc_api
    """
    brb-download --source gdc --api '${api}' --projects ${project} --modality rnaseq \\
        --sample-types ${settings.sample_types} --out ${project}
    """

    stub:
    """
    mkdir ${project}
    echo '{"source": "gdc", "files": []}' > ${project}/plan.json
    touch ${project}/manifest.tsv ${project}/cases.json
    """
}
