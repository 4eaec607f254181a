import groovy.json.JsonSlurper

/**
 * Checks the parameters of a run against nextflow_schema.json, all problems at once.
 *
 * Values from the command line may be text ('5', 'false') whatever their meaning, and a mistyped name is accepted in
 * silence by Nextflow itself, so both are settled here: `settings` returns typed values, or throws with every problem.
 */
class ParameterSchema {

    private final Map<String, Map> declared = [:]
    private final List<Map> groups

    ParameterSchema(String schemaText) {
        def schema = new JsonSlurper().parseText(schemaText) as Map
        groups = schema['$defs'].values() as List<Map>
        groups.each { group -> declared.putAll(group['properties'] as Map<String, Map>) }
    }

    /** Typed values of all parameters. Throws IllegalArgumentException that lists every problem. */
    Map settings(Map params) {
        def problems = []
        def typed = [:]
        params.each { key, value ->
            def name = key as String
            if (declared.containsKey(name)) {
                typed[name] = value == null ? null : check(name, value, problems)
            }
            else if (!isCamelTwin(name, params)) {
                problems << "--${name}: no such parameter; did you mean --${nearest(name)}? (--help lists all)".toString()
            }
        }
        if (problems) {
            throw new IllegalArgumentException(listed(problems))
        }
        return typed.asImmutable()
    }

    /** One message for several problems. */
    static String listed(List problems) {
        if (problems.size() == 1) {
            return problems[0]
        }
        def lines = []
        problems.eachWithIndex { problem, index -> lines << "  ${index + 1}. ${problem}" }
        return "${problems.size()} problems with the parameters\n${lines.join('\n')}"
    }

    /** Help text: every group, parameter, default and choice. */
    String help() {
        def lines = ['', 'Usage: nextflow run <pipeline> --input SHEET --outdir DIR [-profile docker|slurm|gpu|…] [-resume]',
                     '       nextflow run <pipeline> -profile demo', '']
        groups.each { group ->
            lines << group.title
            (group['properties'] as Map<String, Map>).each { name, property ->
                def notes = []
                if (property['enum']) {
                    notes << "one of ${property['enum'].join(', ')}"
                }
                if (property['default'] != null) {
                    notes << "default ${property['default']}"
                }
                lines << "  --${name.padRight(18)} ${property.description}${notes ? " [${notes.join('; ')}]" : ''}"
            }
            lines << ''
        }
        return lines.join('\n')
    }

    private Object check(String name, Object value, List problems) {
        def property = declared[name]
        def typed = coerce(value, property.type as String)
        if (typed == null) {
            problems << "--${name}: found '${value}', expected ${article(property.type as String)}".toString()
            return null
        }
        if (property['enum'] && !(property['enum'].any { it == typed })) {
            problems << "--${name}: found '${value}', expected one of ${property['enum'].join(', ')}".toString()
        }
        if (property.minimum != null && typed < property.minimum) {
            problems << "--${name}: found ${value}, expected ${property.minimum} or more".toString()
        }
        if (property.pattern && !(typed.toString() ==~ property.pattern)) {
            problems << "--${name}: found '${value}', ${property.errorMessage ?: "expected text like ${property.pattern}"}".toString()
        }
        if (property.exists && !typed.toString().contains('://') && !new File(typed.toString()).isFile()) {
            problems << "--${name}: no file '${value}'; check the path (relative paths start from the folder of the launch)".toString()
        }
        return typed
    }

    private static Object coerce(Object value, String type) {
        def text = value.toString().trim()
        switch (type) {
            case 'integer':
                return text ==~ /[+-]?\d{1,9}/ ? text as Integer : null
            case 'number':
                return text ==~ /[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?/ ? text as BigDecimal : null
            case 'boolean':
                return text in ['true', 'false'] ? text == 'true' : null
            default:
                return value instanceof Boolean ? null : text
        }
    }

    private static String article(String type) {
        return [integer: 'a whole number', number: 'a number', boolean: 'true or false', string: 'a value after the name'][type]
    }

    /** Nextflow adds a camelCase twin of every --kebab-case name; only the name as typed is reported. */
    private static boolean isCamelTwin(String name, Map params) {
        return params.keySet().any { key ->
            key.toString().contains('-') && key.toString().replaceAll(/-(\w)/) { it[1].toUpperCase() } == name
        }
    }

    private String nearest(String name) {
        def plain = name.toLowerCase().replace('-', '_')
        return declared.keySet().min { distance(plain, it) }
    }

    private static int distance(String a, String b) {
        def previous = (0..b.size()).toList()
        for (int i = 1; i <= a.size(); i++) {
            def current = [i]
            for (int j = 1; j <= b.size(); j++) {
                def change = a[i - 1] == b[j - 1] ? 0 : 1
                current << [previous[j] + 1, current[j - 1] + 1, previous[j - 1] + change].min()
            }
            previous = current
        }
        return previous[b.size()]
    }
}
