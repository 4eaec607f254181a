/** What a user sees when a run ends. */
class RunOutcome {

    private static final int BAD_INPUT = 2

    /** What one of our commands wrote for the user when it failed (`Error: …` to the next empty line), or null. */
    static String message(Object errorReport) {
        def lines = errorReport?.toString()?.readLines() ?: []
        def start = lines.findLastIndexOf { it.trim().startsWith('Error: ') }
        return start < 0 ? null : lines.drop(start).takeWhile { it.trim() }.join('\n').trim()
    }

    /** Let the launcher end with the status of bad input instead of Nextflow's 1 for every failed task. */
    static void keepExitStatus(Object status) {
        if (status == BAD_INPUT) {
            Runtime.runtime.addShutdownHook(new Thread({ Runtime.runtime.halt(BAD_INPUT) }))
        }
    }
}
