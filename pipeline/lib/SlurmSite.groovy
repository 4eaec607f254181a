import java.util.concurrent.TimeUnit

/** What the partitions of a SLURM cluster give: a job that asks for more than its partition has waits for ever. */
class SlurmSite {

    private static final int PATIENCE_S = 20
    private static final List<String> COMMAND = ['sinfo', '--all', '--noheader', '--exact', '--format=%P|%l|%c|%m']

    /** What sinfo says; nothing where it cannot be asked, and then nothing is known. */
    static String ask() {
        try {
            def process = new ProcessBuilder(COMMAND).redirectError(ProcessBuilder.Redirect.DISCARD).start()
            def text = new StringBuffer()
            process.consumeProcessOutputStream(text)
            if (!process.waitFor(PATIENCE_S, TimeUnit.SECONDS)) {
                process.destroyForcibly()
                return ''
            }
            return process.exitValue() == 0 ? text.toString() : ''
        }
        catch (IOException ignored) {
            return ''
        }
    }

    /**
     * By partition, and for the default one under '': `hours` (absent: unlimited), `cpus` and `memory_mb` of its largest
     * node (absent: not stated, so that nothing may be asked for).
     */
    static Map<String, Map> limits(String said) {
        def found = [:]
        said.readLines().collect { line -> line.trim().split(/\|/) }.findAll { cells -> cells.size() == 4 }.each { cells ->
            def name = cells[0].replaceAll(/\*$/, '')
            (cells[0].endsWith('*') ? ['', name] : [name]).each { key ->
                def known = found.get(key, [:])
                def hours = hours_of(cells[1])
                if (hours != null) {
                    known.hours = hours
                }
                known.cpus = [known.cpus, cells[2].replace('+', '') as int].findAll().max()
                def memory = cells[3].replace('+', '') as int
                if (memory > 1) {
                    known.memory_mb = [known.memory_mb, memory].findAll().max()
                }
            }
        }
        return found
    }

    /** What does not fit the cluster, in words; null when jobs can be sent. */
    static String problem(Map<String, Map> limits, Map settings) {
        if (!limits) {
            return null
        }
        def names = limits.keySet().findAll().join(', ')
        if (!settings.queue && !limits.containsKey('')) {
            return "this SLURM has no default partition: choose one with --queue; there are ${names}".toString()
        }
        def unknown = ['queue', 'gpu_queue'].find { name ->
            settings[name] && (settings[name] as String).tokenize(',').any { queue -> !limits.containsKey(queue) }
        }
        return unknown ? "--${unknown} ${settings[unknown]}: no such partition on this SLURM; there are ${names}".toString() : null
    }

    /** Hours of `30:00`, `2:00:00`, `1-12:00:00`; null for `infinite`. */
    private static BigDecimal hours_of(String text) {
        def whole = text =~ /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$/
        if (!whole.matches()) {
            return null
        }
        def (days, hours, minutes, seconds) = (1..4).collect { part -> (whole.group(part) ?: '0') as BigDecimal }
        return days * 24 + hours + minutes / 60 + seconds / 3600
    }
}
