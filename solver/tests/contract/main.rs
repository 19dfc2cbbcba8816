//! What the solver promises, checked against closed forms and published numbers.

mod body;

mod beam_sas2020;
mod hyplas_single_element;
mod independence;
mod patch_macneal;
mod softening;
