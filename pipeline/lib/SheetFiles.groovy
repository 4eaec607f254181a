import java.nio.file.Files
import java.nio.file.Path

/**
 * Files that a samplesheet names, so that Nextflow stages them: they are mounted in containers, and an edited file runs
 * the steps again. Whether the sheet is right is said by `bulkrnabert preprocess`, which reads it properly.
 */
class SheetFiles {

    private static final List<String> FILE_COLUMNS = ['path', 'clinical']

    /** Existing files and folders in the columns `path` and `clinical`, sorted, without repeats. */
    static List<Path> of(Path sheet) {
        def lines = sheet.readLines().findAll { it.trim() }
        if (!lines) {
            return []
        }
        def separator = lines[0].contains('\t') ? '\t' : ','
        def header = cells(lines[0], separator)
        def columns = FILE_COLUMNS.collect { header.indexOf(it) }.findAll { it >= 0 }
        def found = lines.drop(1).collectMany { line ->
            def values = cells(line, separator)
            columns.collect { column -> values[column] }.findAll { it }
        }
        return found.unique().sort().collect { sheet.toRealPath().parent.resolve(it) }.findAll { Files.exists(it) }
    }

    private static List<String> cells(String line, String separator) {
        def plain = line.replace('\uFEFF', '')
        return plain.split(java.util.regex.Pattern.quote(separator), -1).collect { it.trim().replaceAll('^"|"$', '') }
    }
}
