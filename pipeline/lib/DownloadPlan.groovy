/** What is downloaded: one task a project and modality, and one for each other portal. */
class DownloadPlan {

    /** Maps with `id` (name of the raw folder), `source`, `flags` (options of `brb-download`) and `files` (own files). */
    static List<Map> of(Map settings) {
        def tasks = []
        def modalities = (settings.modalities as String).tokenize(',').unique().sort().reverse()
        def rules = settings.selection as String
        def is_file = rules.contains('/') || rules.endsWith('.yaml') || rules.endsWith('.yml')
        def rules_flag = "--rules '${is_file ? 'own/' + new File(rules).name : rules}'"
        def projects = settings.projects ? (settings.projects as String).tokenize(',').unique().sort() : []
        projects.each { project ->
            modalities.each { modality ->
                def api = settings.gdc_api == 'embedded' ? '' : "--api '${settings.gdc_api}' "
                tasks << [
                    id: modality == 'rnaseq' ? project : "${project}.${modality}".toString(),
                    source: 'gdc',
                    flags: "${api}--projects '${project}' --modality ${modality} --sample-types ${settings.sample_types} ${rules_flag}".toString(),
                    files: is_file ? [rules] : []
                ]
            }
        }
        if (settings.gtex) {
            tasks << gtex(settings)
        }
        if (settings.encode) {
            tasks << [id: 'ENCODE', source: 'encode', flags: "--annotation ${settings.encode_annotation}".toString(), files: []]
        }
        return tasks
    }

    private static Map gtex(Map settings) {
        def flags = "--release ${settings.gtex}"
        def files = []
        ['gct', 'attributes', 'subjects'].each { table ->
            def given = settings["gtex_${table}".toString()] as String
            if (given && given.contains('://')) {
                flags += " --${table} '${given}'"
            }
            else if (given) {
                files << given
                flags += " --${table} 'own/${new File(given).name}'"
            }
        }
        if (settings.gtex_tissues) {
            flags += " --tissues '${settings.gtex_tissues}'"
        }
        return [id: "GTEX-${settings.gtex}".toString(), source: 'gtex', flags: flags.toString(), files: files]
    }
}
