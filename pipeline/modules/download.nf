process DOWNLOAD {
    tag "${meta.id}"
    label 'process_single'
    label 'process_long'

    input:
    val meta                            // id, source, flags: what is asked for, as options of `brb-download`
    path study                          // the synthetic study, or nothing for a real portal
    path own_files, stageAs: 'own/*'    // GTEx tables in place of the portal's, possibly none
    path token                          // the portal's token, possibly none
    val store                           // folder where raw folders are kept from run to run, or ''
    val _release                        // what a retraining found new: another one is another download
    val _code                           // hash of the code that this stage imports

    output:
    path "${meta.id}", emit: raw
    path "${meta.id}.plan.json", emit: plan
    path "${meta.id}.manifest.tsv", emit: manifest
    path "${meta.id}.cases.json", optional: true, emit: cases

    script:
    def api_flag = study && meta.source == 'gdc' ? "--api embedded:${study}" : ''
    def token_flag = token && meta.source == 'gdc' ? "--token-file ${token}" : ''
    def replan_flag = store && meta.source == 'gdc' ? '--replan' : ''
    """
    ${store ? "mkdir -p '${store}/${meta.id}' && ln -s '${store}/${meta.id}' ${meta.id}" : ''}
    brb-download --source ${meta.source} ${meta.flags} ${api_flag} ${token_flag} ${replan_flag} --out ${meta.id}
    cp ${meta.id}/plan.json ${meta.id}.plan.json
    cp ${meta.id}/manifest.tsv ${meta.id}.manifest.tsv
    if [ -f ${meta.id}/cases.json ]; then cp ${meta.id}/cases.json ${meta.id}.cases.json; fi
    """

    stub:
    """
    mkdir ${meta.id}
    echo '{"source": "${meta.source}", "files": []}' > ${meta.id}/plan.json
    touch ${meta.id}/manifest.tsv ${meta.id}/cases.json ${meta.id}.plan.json ${meta.id}.manifest.tsv ${meta.id}.cases.json
    """
}
