/** Which models a run trains, and what that asks of its data. */
class ModelChoice {

    /** What does not fit together, in words; null when the run can begin. */
    static String problem(Map settings) {
        def asked = settings.attribute ? (settings.attribute as String).tokenize(',').unique() : []
        if (asked && !('bulkrnabert' in names(settings))) {
            return "--attribute explains bulkrnabert, which is not in --model ${settings.model}: add it, or leave --attribute out".toString()
        }
        def tuned = settings.finetune ? (settings.finetune as String).tokenize(',').collect { name -> name.contains(':') ? name.tokenize(':')[0] : null } : []
        def unmade = asked.find { task -> !(null in tuned) && !(task in tuned) }
        if (unmade) {
            return "--attribute ${unmade} explains a fine-tuned model: give --finetune ia3 or --finetune ${unmade}:ia3 too".toString()
        }
        if (asked && !('pretrained' in (settings.finetune_starts as String).tokenize(','))) {
            return '--attribute explains models from the pretrained start: add it to --finetune_starts'
        }
        return null
    }

    /** Names of --model, in the order given, each once. */
    static List<String> names(Map settings) {
        return (settings.model as String).tokenize(',').unique()
    }

    /** Modalities of the run: --modalities, or what the models read. */
    static String modalities(Map settings) {
        return settings.modalities ?: (reads_methylation(settings) ? 'rnaseq,methylation' : 'rnaseq')
    }

    /** Whether a model reads methylation beside RNA-seq. */
    static boolean reads_methylation(Map settings) {
        return 'mojo' in names(settings)
    }

    /** Samples that are split: all that MOJO can read; with another model beside it those that both can. */
    static String split_modality(Map settings) {
        return !reads_methylation(settings) ? 'rnaseq' : names(settings).size() > 1 ? 'paired' : 'any'
    }

    /** Name of what belongs to one model: BulkRNABert's own has no prefix. */
    static String id(String model, String name) {
        return model == 'bulkrnabert' ? name : "${model}.${name}".toString()
    }
}
