"""Readers and writers: every file becomes an `Image` that is read by region."""

from stroma.core.registry import Registry

registry = Registry(
    "stroma.images",
    {
        "open_image": "stroma.images.open:open_image",
        "Image": "stroma.images.image:Image",
        "Box": "stroma.images.image:Box",
        "tivita": "stroma.images.tivita:TivitaImage",
        "store": "stroma.images.store:StoreImage",
        "envi": "stroma.images.envi:EnviImage",
        "hdf5": "stroma.images.hdf5_cube:Hdf5Image",
        "matlab": "stroma.images.matlab:MatlabImage",
        "numpy": "stroma.images.numpy_cube:NumpyImage",
        "ome_zarr": "stroma.images.ome_zarr:OmeZarrImage",
        "zarr": "stroma.images.zarr_cube:ZarrImage",
        "openslide": "stroma.images.slide:SlideImage",
        "czi": "stroma.images.czi:CziImage",
        "tiff": "stroma.images.tiff:TiffImage",
        "picture": "stroma.images.picture:PictureImage",
        "read_cube": "stroma.images.tivita:read_cube",
        "write_cube": "stroma.images.tivita:write_cube",
        "check_cube": "stroma.images.tivita_files:check_cube",
        "read_dark": "stroma.images.tivita_files:read_dark",
        "read_white": "stroma.images.tivita_files:read_white",
        "read_tivita_rgb": "stroma.images.tivita_rgb:read_tivita_rgb",
        "read_parameter_picture": "stroma.images.tivita_rgb:read_parameter_picture",
    },
)
__getattr__, __dir__ = registry.attributes()
