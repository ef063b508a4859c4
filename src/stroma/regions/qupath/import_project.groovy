/*
 * Import what Stroma wrote into every image of the open project.
 *
 * First: stroma annotations convert|export ... --to geojson -o PROJECT/stroma-results   (with --qupath-bounds and
 * --images where slides have a scanned area). Then run this in QuPath 0.4 or later: Automate > Script editor > Open >
 * Run. Files are found by the name of the image, plain or percent-encoded, also when they are compressed (.gz).
 * Objects are added to those that are there; set `replace` to true to remove objects of the same classes first.
 */
import java.util.zip.GZIPInputStream
import qupath.lib.common.GeneralTools
import qupath.lib.io.PathIO

boolean replace = false

def folder = buildFilePath(PROJECT_BASE_DIR, 'stroma-results')
int images = 0
for (entry in getProject().getImageList()) {
    def name = GeneralTools.stripExtension(entry.getImageName())
    def encoded = URLEncoder.encode(name, 'UTF-8').replace('+', '%20').replace('*', '%2A')
    def candidates = [name, encoded].collectMany { [it + '.geojson', it + '.geojson.gz'] }
    def file = candidates.collect { new File(buildFilePath(folder, it)) }.find { it.exists() }
    if (file == null) {
        println "${entry.getImageName()}: no file in ${folder}"
        continue
    }
    def objects
    if (file.getName().endsWith('.gz')) {
        objects = new GZIPInputStream(new FileInputStream(file)).withCloseable { PathIO.readObjectsFromGeoJSON(it) }
    } else {
        objects = PathIO.readObjects(file)
    }
    def imageData = entry.readImageData()
    def hierarchy = imageData.getHierarchy()
    if (replace) {
        def classes = objects.collect { it.getPathClass() }.toSet()
        def old = hierarchy.getFlattenedObjectList(null).findAll { !it.isRootObject() && it.getPathClass() in classes }
        hierarchy.removeObjects(old, true)
    }
    hierarchy.addObjects(objects)
    entry.saveImageData(imageData)
    imageData.getServer().close()
    println "${entry.getImageName()}: ${objects.size()} objects from ${file.getName()}"
    images++
}
println "${images} images"
