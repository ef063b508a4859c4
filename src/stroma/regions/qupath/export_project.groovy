/*
 * Export the objects of every image of the open project as GeoJSON for Stroma.
 *
 * Run it in QuPath 0.4 or later: Automate > Script editor > Open > Run. It writes one file per image into the folder
 * `stroma` beside the project; then: stroma annotations import PROJECT/stroma --images SLIDES -o OUT
 * Add --qupath-bounds when the slides have a scanned area (MRXS, some SVS and DICOM): QuPath counts from its corner.
 */
import qupath.lib.common.GeneralTools

def folder = buildFilePath(PROJECT_BASE_DIR, 'stroma')
mkdirs(folder)
int images = 0
for (entry in getProject().getImageList()) {
    def hierarchy = entry.readHierarchy()
    def objects = hierarchy.getFlattenedObjectList(null).findAll { !it.isRootObject() }
    def name = GeneralTools.stripExtension(entry.getImageName()).replaceAll('[\\\\/:*?"<>|]', '_')
    def file = buildFilePath(folder, name + '.geojson')
    if (objects.isEmpty()) {
        println "${entry.getImageName()}: no objects"
        continue
    }
    if (new File(file).exists()) {
        println "${entry.getImageName()}: ${file} exists already and is left as it is"
        continue
    }
    exportObjectsToGeoJson(objects, file, 'FEATURE_COLLECTION')
    println "${entry.getImageName()}: ${objects.size()} objects"
    images++
}
println "${images} files in ${folder}"
