!> Kinds of numbers, in one place.
module kinds
   use, intrinsic :: iso_fortran_env, only: int8, int32, int64, real64
   implicit none
   private
   public :: int8, int32, int64, dp

   !> Double precision, IEEE 754 binary64: the bits that a fault flips.
   integer, parameter :: dp = real64
end module kinds
