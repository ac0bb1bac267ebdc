#pragma once

#include "xray/prepare.h"

namespace gpuward::xray {

/// One dark field of the chest. "Left" and "right" are sides of the *picture*; on a film taken from
/// behind (PA), the patient's right side is on the picture's left. Positions are pixels of the
/// film.
struct LungField {
  double area_share = 0;  ///< 0..1 of the film
  int left = 0, right = 0, top = 0, bottom = 0;
};

/// What is measured on the picture; every figure is a count of pixels or a ratio of two.
struct Measures {
  /// False when the picture does not separate into two dark fields: then all below is zero.
  bool fields_found = false;
  LungField left, right;
  double symmetry = 0;   ///< 0..1: smaller field area / larger field area
  int thorax_width = 0;  ///< outermost edge to outermost edge of the fields, pixels
  int heart_width = 0;   ///< widest gap between the fields in their lower half, pixels
  double heart_thorax_ratio = 0;
  int mediastinum_width = 0;     ///< median gap in the upper third, pixels
  double mediastinum_share = 0;  ///< of thorax_width
  int diaphragm_left = 0,
      diaphragm_right = 0;       ///< height of each field's floor, pixels from the top
  int diaphragm_difference = 0;  ///< > 0: the picture's left side stands higher
  double field_mean_left = 0, field_mean_right = 0;  ///< grey 0..255 inside, after CLAHE
};

/// Threshold, smoothing and the best pair of dark regions. Depends on nothing but the pixels: the
/// same film gives the same figures.
Measures measure(const Prepared& prepared);

}  // namespace gpuward::xray
