/** What a user sees when a run ends. */
class RunOutcome {

    private static final int BAD_INPUT = 2

    /** What one of our commands wrote for the user when it failed (`Error: …` to the next empty line), or null. */
    static String message(Object errorReport) {
        def lines = errorReport?.toString()?.readLines() ?: []
        def start = lines.findLastIndexOf { it.trim().startsWith('Error: ') }
        return start < 0 ? null : lines.drop(start).takeWhile { it.trim() }.join('\n').trim()
    }

    /** Whether results can be written under a folder, which may still have to be made. */
    static boolean canHold(java.nio.file.Path folder) {
        def nearest = folder
        while (nearest && !java.nio.file.Files.exists(nearest)) {
            nearest = nearest.parent
        }
        return nearest && java.nio.file.Files.isDirectory(nearest) && java.nio.file.Files.isWritable(nearest)
    }

    /** A program of the clone's own environment, or its bare name where there is none. */
    static String program(String name, java.nio.file.Path pipeline) {
        def own = pipeline.resolve("../.venv/bin/${name}".toString()).toAbsolutePath().normalize()
        return java.nio.file.Files.isExecutable(own) ? own.toString() : name
    }

    /** A value with `://…@` for `://user:password@` in its texts, as `bulkrnabert/logs.py` does it. */
    static Object withoutCredentials(Object value) {
        if (value instanceof Map) {
            return value.collectEntries { name, one -> [name, withoutCredentials(one)] }
        }
        if (value instanceof Collection) {
            return value.collect { one -> withoutCredentials(one) }
        }
        return value instanceof CharSequence ? value.toString().replaceAll('://[^/\\s]+@', '://\u2026@') : value
    }

    /** What `bulkrnabert crate` says about the run, as JSON; without passwords. */
    static String facts(Object workflow, Map settings) {
        return groovy.json.JsonOutput.prettyPrint(groovy.json.JsonOutput.toJson(withoutCredentials([
            pipeline_version: workflow.manifest.version,
            revision: workflow.commitId,
            run_name: workflow.runName,
            session_id: workflow.sessionId.toString(),
            command_line: workflow.commandLine,
            success: workflow.success,
            start: workflow.start.toString(),
            complete: workflow.complete.toString(),
            params: settings.findAll { name, value -> value != null && name != 'help' }.sort()
        ])))
    }

    /** Let the launcher end with the status of bad input instead of Nextflow's 1 for every failed task. */
    static void keepExitStatus(Object status) {
        if (status == BAD_INPUT) {
            Runtime.runtime.addShutdownHook(new Thread({ Runtime.runtime.halt(BAD_INPUT) }))
        }
    }
}
