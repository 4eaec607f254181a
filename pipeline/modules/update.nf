// What the portal has now against what the champion was made from. Never cached: a portal changes by itself.
process UPDATE {
    label 'process_single'
    cache false

    input:
    path plans, stageAs: 'plans/*' // <name>.plan.json and <name>.cases.json of the champion's downloads
    path study                     // the synthetic study, or nothing for a real portal
    val settings                   // map: gdc_api, projects, modalities
    val _code                      // hash of the code that this stage imports

    output:
    path 'changes', emit: changes

    script:
    def api = study ? "embedded:${study}" : settings.gdc_api
    def modality_flags = Flags.repeated('--modality', settings.modalities.tokenize(','))
    """
    brb-update --raw plans --api '${api}' --projects '${settings.projects}' ${modality_flags} --out changes
    """

    stub:
    """
    mkdir changes
    echo '{"n_changes": 1}' > changes/changes.json
    touch changes/changes.tsv changes/CHANGES.md
    """
}
