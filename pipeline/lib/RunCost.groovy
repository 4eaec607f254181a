import java.nio.file.FileSystems
import java.nio.file.Path

/** What a run took, added up by `bulkrnabert cost` when the last task has ended, and put into the report. */
class RunCost {

    /** The command, as words. */
    static List<String> command(Map settings, Path outdir, Path pipeline) {
        def prices = settings.prices ? ['--prices', nextflow.Nextflow.file(settings.prices).toAbsolutePath()] : []
        return [
            RunOutcome.program('bulkrnabert', pipeline), 'cost', '--trace', outdir.resolve('pipeline_info/trace.tsv'),
            '--gpus', settings.gpus, '--nodes', settings.nodes, '--summary', outdir.resolve('cohorts/summary.json'), *prices,
            '--report', outdir.resolve('report.html'), '--out', outdir.resolve('cost.json')
        ].collect { word -> word.toString() }
    }

    /** Totals in a line; null where the results are not on this machine or the command does not end well. */
    static String add(List<String> command, Path outdir) {
        if (outdir.fileSystem != FileSystems.default) {
            return null
        }
        try {
            def process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD).start()
            def totals = process.inputStream.text.trim()
            return process.waitFor() == 0 ? totals : null
        }
        catch (IOException ignored) {
            return null
        }
    }
}
