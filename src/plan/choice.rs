//! The words a setting may take.

use serde::{Deserialize, Serialize};

/// Defines an enumeration whose variants are written as words in plans and on the command line.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// The words, in the order of the documentation.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word of this variant.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl $crate::plan::SettingValue for $name {
            fn valid() -> String {
                Self::WORDS.join(", ")
            }
            fn parse(text: &str) -> Result<toml::Value, String> {
                text.parse::<Self>().map(|value| value.word().into())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::plan::not_one_of(text, Self::WORDS)),
                }
            }
        }
    };
}

pub(crate) use choice;

choice! {
    /// The bone that is loaded.
    Bone {
        /// A proximal femur.
        Femur = "femur",
        /// A vertebra.
        Vertebra = "vertebra",
    }
}

choice! {
    /// The patient's side.
    Side {
        /// The patient's left.
        Left = "left",
        /// The patient's right.
        Right = "right",
    }
}

choice! {
    /// Whose label values name the vertebrae of a label map.
    LabelNames {
        /// VerSe (Sekuboyina 2021): 1-24 = C1 to L5, 25 = L6, 28 = T13; the built-in networks write these.
        Verse = "verse",
        /// TotalSegmentator 2, task `total` (Wasserthal 2023): 27-31 = L5 to L1, 32-43 = T12 to T1, 44-50 = C7 to C1.
        TotalSegmentator = "totalsegmentator",
    }
}

choice! {
    /// What the mask grows or shrinks by in a step of one voxel.
    MorphElement {
        /// Over faces: 6 neighbours (Saillard 2024).
        Faces = "faces",
        /// Over faces, edges and corners: 26 neighbours.
        Corners = "corners",
        /// A ball whose radius is the number of voxels.
        Ball = "ball",
    }
}

choice! {
    /// Unit of `--morph`.
    MorphUnit {
        /// Whole voxels.
        Voxel = "voxel",
        /// Millimetres, through the signed distance.
        Millimetre = "mm",
        /// Standard deviations of the surface, place by place, as the segmentation states them.
        StandardDeviation = "sd",
    }
}

choice! {
    /// Element kind.
    MeshKind {
        /// 8-node hexahedra on a voxel lattice.
        Hex = "hex",
        /// 10-node tetrahedra inside the bone's surface.
        Tet10 = "tet10",
    }
}

choice! {
    /// Where the endplates of a vertebra are taken from.
    EndplateSource {
        /// The outermost surface of the mask that faces up and down (Saillard 2024).
        MaskSurface = "mask_surface",
        /// The edge of the bone in the image, within 4 mm of the mask's surface.
        ImageEdge = "image_edge",
    }
}

choice! {
    /// What fills a surface with tetrahedra.
    TetMesher {
        /// TetGen, and the lattice mesher where it fails or is not built in.
        Tetgen = "tetgen",
        /// A body-centred cubic lattice cut at the surface (isosurface stuffing).
        Lattice = "lattice",
    }
}

choice! {
    /// How image values are interpolated between voxels.
    Interpolation {
        /// Interpolating cubic B-spline with prefilter and mirror ends.
        Bspline = "bspline",
        /// Trilinear.
        Linear = "linear",
    }
}

choice! {
    /// How the density reaches a rotated model grid.
    Resampling {
        /// Cubes in the image's axes first, then the rotation: what the public programs do.
        TwoStep = "two_step",
        /// Straight from the scan to the model grid: keeps the cortex sharper.
        OneStep = "one_step",
    }
}

choice! {
    /// What an element of a resampled hexahedral mesh knows of the voxels it covers.
    Coverage {
        /// The interpolated value at its centre.
        Point = "point",
        /// The part of its volume that is bone, and the mean density of that part.
        Volume = "volume",
    }
}

choice! {
    /// How voxels give their value to a tetrahedron (Bonemat's three versions).
    Sampling {
        /// Mean of the voxels whose centre lies inside, then the laws.
        V1 = "v1",
        /// Density integrated over the element, then the laws.
        V2 = "v2",
        /// The laws at each sampling point, then the mean modulus.
        V3 = "v3",
    }
}

choice! {
    /// Constitutive model.
    ConstitutiveModel {
        /// Von Mises plasticity with isotropic hardening or softening.
        J2 = "j2",
        /// Total-strain secant model of Sas 2020, iterated to equilibrium.
        Secant = "secant",
        /// The same with its original explicit stepping, for replication.
        SecantExplicit = "secant_explicit",
        /// Linear elastic.
        Linear = "linear",
    }
}

choice! {
    /// What follows the plateau of the Keyak law.
    Softening {
        /// The plateau never ends.
        Off = "off",
        /// Plateau and slope corrected for elements of 3 mm whatever their size, as Sas 2020 does.
        Fixed3mm = "fixed_3mm",
        /// Plateau and slope corrected for the size of the element.
        ElementSize = "element_size",
    }
}

choice! {
    /// How a hexahedron interpolates strain.
    ElementFormulation {
        /// Mean dilatation.
        Bbar = "bbar",
        /// Full integration.
        Full = "full",
        /// Incompatible modes of Wilson and Taylor.
        Incompatible = "incompatible",
    }
}

choice! {
    /// What is done to the bone.
    LoadKind {
        /// Standing: the head is pressed along the shaft, the shaft's end is held.
        Stance = "stance",
        /// A fall to the side: the head is pressed towards the greater trochanter, both in caps.
        SidewaysFall = "sideways_fall",
        /// A vertebra pressed at its endplates.
        EndplateCompression = "endplate_compression",
        /// A vertebra pressed between caps or its own disc labels.
        PlatenCompression = "platen_compression",
    }
}

choice! {
    /// Where the loaded faces are held across the load.
    Lateral {
        /// On both loaded faces.
        Fixed = "fixed",
        /// At the fixed face only.
        Free = "free",
        /// Nowhere: three point constraints remove the rigid modes.
        FreeBoth = "free_both",
    }
}

choice! {
    /// What counts as the failure load.
    Criterion {
        /// The maximum of the force along the load.
        MaximumForce = "maximum_force",
        /// The force at a given reduction of the bone's height.
        HeightReduction = "height_reduction",
        /// The linear load at which a part of the volume exceeds a strain (Pistoia 2002).
        Pistoia = "pistoia",
        /// None: the curve is the result.
        None = "none",
    }
}

choice! {
    /// What a calibrated density is equivalent to.
    Basis {
        /// Dipotassium phosphate in water, as in Mindways phantoms.
        K2hpo4 = "k2hpo4",
        /// Calcium hydroxyapatite.
        Ha = "ha",
        /// Ash density.
        Ash = "ash",
    }
}

impl From<Basis> for calibration::DensityKind {
    fn from(basis: Basis) -> Self {
        match basis {
            Basis::K2hpo4 => Self::K2Hpo4,
            Basis::Ha => Self::Ha,
            Basis::Ash => Self::Ash,
        }
    }
}
