/** Which models a run trains, and what that asks of its data. */
class ModelChoice {

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
