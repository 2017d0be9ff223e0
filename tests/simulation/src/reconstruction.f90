!> Limited slopes for MUSCL (van Leer 1979, J. Comput. Phys. 32, 101).
module reconstruction
   use kinds, only: dp
   implicit none
   private
   public :: limited_slopes

contains

   !> Slope per zone by the monotonised central (MC) limiter (van Leer 1977, J. Comput. Phys. 23, 276).
   !>
   !> The values at a zone's faces then lie between those of its neighbours, so positive densities and pressures stay positive.
   pure subroutine limited_slopes(n, before, here, after, slope)
      integer, intent(in) :: n
      !> Values in the zones before, at and after, along the direction of the slope.
      real(dp), intent(in) :: before(n), here(n), after(n)
      real(dp), intent(out) :: slope(n)
      integer :: i
      real(dp) :: left, right

      do i = 1, n
         left = here(i) - before(i)
         right = after(i) - here(i)
         ! Half the sum of the signs is 0 at an extremum, else the common sign: no branch, so the loop vectorises.
         slope(i) = 0.5_dp*(sign(1.0_dp, left) + sign(1.0_dp, right)) &
            & *min(2.0_dp*abs(left), 2.0_dp*abs(right), 0.5_dp*abs(left + right))
      end do
   end subroutine limited_slopes

end module reconstruction
