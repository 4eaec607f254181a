import java.nio.file.Files
import java.nio.file.Path

import groovy.json.JsonSlurper
import nextflow.Nextflow

/** The run that serves now, and that a retraining goes on from: the folder of its results. */
class Champion {

    /** What does not fit together, in words; null when the run can begin. */
    static String problem(Map settings) {
        if (settings.mode != 'retrain') {
            def stray = ['champion', 'new_share'].find { name -> settings[name] != null }
            return stray ? "--${stray} is for --mode retrain; leave it out, or give the mode".toString() : null
        }
        if (!settings.champion) {
            return '--mode retrain goes on from a champion: give --champion RESULTS, the folder of the run that serves now'
        }
        if (!settings.projects) {
            return '--mode retrain compares the portal with what the champion learnt from: give --projects, old and new ones'
        }
        if (settings.published_splits || settings.leave_out || settings.protocol == 'paper') {
            return '--mode retrain keeps the splits of the champion: leave out --published_splits, --leave_out and --protocol paper'
        }
        if (isSameFolder(settings.champion as String, settings.outdir as String)) {
            return "--outdir ${settings.outdir} is the champion: its results would be written over before they are judged; name another folder".toString()
        }
        def absent = ['download', 'encoders', 'predictions', 'splits/splits.tsv'].find { name -> !new File(settings.champion as String, name).exists() }
        return absent ? "--champion ${settings.champion}: has no ${absent}; give the folder of a finished run".toString() : null
    }

    /** Parameters that follow from the champion: its splits are kept. */
    static Map settings(Map settings, Path champion) {
        return [published_splits: champion.resolve('splits/splits.tsv').toString(), published_form: 'frozen']
    }

    /** The encoder of the same model and split that a retraining goes on from, on its genes and bins; nothing otherwise. */
    static Object encoder(Map settings, String id) {
        return settings.champion ? Nextflow.file([checkIfExists: true], "${settings.champion}/encoders/${id}".toString()) : []
    }

    /** Folders with the champion's predictions, of probes and of fine-tuning. */
    static List<Path> predictions(Path champion) {
        return ['predictions', 'finetuned'].collectMany { name -> folders(champion.resolve(name)) }
    }

    /** Folders of the champion's encoders. */
    static List<Path> encoders(Path champion) {
        return folders(champion.resolve('encoders'))
    }

    /** What a retraining came to, in one line. */
    static String outcome(Path outdir) {
        def decision = outdir.resolve('retraining/decision/decision.json')
        if (!Files.exists(decision)) {
            return "Nothing to do: ${outdir}/retraining/changes/CHANGES.md"
        }
        def found = new JsonSlurper().parseText(decision.text) as Map
        return "${found.promote ? 'The challenger is promoted' : 'The champion stays'}: ${found.reason} (${outdir}/retraining/decision/DECISION.md)"
    }

    /** What is left to do by hand where the MLflow registry did not follow, or null. */
    static String registryProblem(Map settings, Path outdir) {
        def log = outdir.resolve('retraining/decision/registry.log')
        return Files.exists(log)
            ? "The MLflow registry did not follow the decision (${log}). When that is mended: " +
                "bulkrnabert promote --champion ${settings.champion} --challenger ${outdir} --cohorts ${outdir}/cohorts " +
                "--margin ${settings.margin} --bootstrap ${settings.bootstrap} --seed ${settings.seed} --tracking-uri SERVER --out ${outdir}/retraining/decision"
            : null
    }

    private static boolean isSameFolder(String one, String other) {
        return new File(one).canonicalPath == new File(other).canonicalPath
    }

    private static List<Path> folders(Path folder) {
        return Files.isDirectory(folder) ? folder.toFile().listFiles().findAll { it.isDirectory() }.sort().collect { it.toPath() } : []
    }
}
