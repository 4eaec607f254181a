/** Options of a command line. */
class Flags {

    /** `option` before each value: Nextflow hands one staged file on as itself and several as a list. */
    static String repeated(String option, Object values) {
        return (values instanceof Collection ? values : [values]).collect { value -> "${option} ${value}" }.join(' ')
    }
}
