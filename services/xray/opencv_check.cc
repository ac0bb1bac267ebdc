// Linked by CMake to see whether OpenCV's archives are enough on this system; never run.
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "xray/opencv_serial.h"

int main() {
  gpuward::xray::keep_opencv_serial();
  const cv::Mat picture(64, 64, CV_8UC1, cv::Scalar(1));
  cv::Mat out;
  cv::resize(picture, out, cv::Size(32, 32), 0, 0, cv::INTER_AREA);
  cv::createCLAHE(2.0, cv::Size(8, 8))->apply(out, out);
  cv::GaussianBlur(out, out, cv::Size(5, 5), 0);
  cv::Mat mask = out < 3;
  cv::morphologyEx(mask, mask, cv::MORPH_OPEN,
                   cv::getStructuringElement(cv::MORPH_ELLIPSE, cv::Size(5, 5)));
  return mask.rows;
}
