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
    path "${project}.plan.json", emit: plan
    path "${project}.manifest.tsv", emit: manifest

    script:
    def api = study ? "embedded:${study}" : settings.gdc_api
    """
    brb-download --source gdc --api '${api}' --projects ${project} --modality rnaseq \\
        --sample-types ${settings.sample_types} --out ${project}
    cp ${project}/plan.json ${project}.plan.json
    cp ${project}/manifest.tsv ${project}.manifest.tsv
    """

    stub:
    """
    mkdir ${project}
    echo '{"source": "gdc", "files": []}' > ${project}/plan.json
    touch ${project}/manifest.tsv ${project}/cases.json ${project}.plan.json ${project}.manifest.tsv
    """
}
