!> Approximate Riemann solvers: HLLC (Toro, Spruce, Speares 1994, Shock Waves 4, 25), with HLL (Harten, Lax, van Leer 1983) where
!> the star state of HLLC has no positive pressure.
module riemann
   use kinds, only: dp
   implicit none
   private
   public :: face_fluxes

contains

   !> Fluxes through `n` faces from the states on their two sides.
   !>
   !> States are (density, normal velocity, tangential velocity, pressure), fluxes (mass, normal momentum, tangential momentum,
   !> energy). Signal speeds are the smallest and largest characteristic speeds of both sides (Davis 1988).
   pure subroutine face_fluxes(gamma, n, left, right, flux)
      real(dp), intent(in) :: gamma
      integer, intent(in) :: n
      real(dp), intent(in) :: left(n, 4), right(n, 4)
      real(dp), intent(out) :: flux(n, 4)
      integer :: i
      real(dp) :: sound_left, sound_right, speed_left, speed_right, speed_contact
      real(dp) :: mass_left, mass_right, pressure_star, density_star, energy_star
      real(dp) :: density, velocity, tangential, pressure, energy, speed, speed_upwind, inverse
      real(dp) :: from_left, from_right, pressure_stars(n)

      do i = 1, n
         sound_left = sqrt(gamma*left(i, 4)/left(i, 1))
         sound_right = sqrt(gamma*right(i, 4)/right(i, 1))
         speed_left = min(left(i, 2) - sound_left, right(i, 2) - sound_right)
         speed_right = max(left(i, 2) + sound_left, right(i, 2) + sound_right)
         mass_left = left(i, 1)*(speed_left - left(i, 2))
         mass_right = right(i, 1)*(speed_right - right(i, 2))
         speed_contact = (right(i, 4) - left(i, 4) + left(i, 2)*mass_left - right(i, 2)*mass_right)/(mass_left - mass_right)
         pressure_star = left(i, 4) + mass_left*(speed_contact - left(i, 2))
         pressure_stars(i) = pressure_star

         ! Exactly 1 for the side that the contact moves away from, 0 for the other: a selection without a branch, so that the
         ! loop vectorises.
         from_left = 0.5_dp + sign(0.5_dp, speed_contact)
         from_right = 1.0_dp - from_left
         density = from_left*left(i, 1) + from_right*right(i, 1)
         velocity = from_left*left(i, 2) + from_right*right(i, 2)
         tangential = from_left*left(i, 3) + from_right*right(i, 3)
         pressure = from_left*left(i, 4) + from_right*right(i, 4)
         speed = from_left*speed_left + from_right*speed_right
         ! Zero where all waves run to the other side: the flux is then the upwind state's own.
         speed_upwind = from_left*min(speed_left, 0.0_dp) + from_right*max(speed_right, 0.0_dp)

         energy = pressure/(gamma - 1.0_dp) + 0.5_dp*density*(velocity*velocity + tangential*tangential)
         inverse = 1.0_dp/(speed - speed_contact)
         density_star = density*(speed - velocity)*inverse
         energy_star = ((speed - velocity)*energy - pressure*velocity + pressure_star*speed_contact)*inverse
         flux(i, 1) = density*velocity + speed_upwind*(density_star - density)
         flux(i, 2) = density*velocity*velocity + pressure + speed_upwind*(density_star*speed_contact - density*velocity)
         flux(i, 3) = tangential*flux(i, 1)
         flux(i, 4) = velocity*(energy + pressure) + speed_upwind*(energy_star - energy)
      end do
      if (minval(pressure_stars) > 0.0_dp) return
      do i = 1, n
         if (.not. pressure_stars(i) > 0.0_dp) flux(i, :) = hll(gamma, left(i, :), right(i, :))
      end do
   end subroutine face_fluxes

   !> The flux of HLL: one averaged state between the fastest waves; keeps density and pressure positive.
   pure function hll(gamma, left, right) result(flux)
      real(dp), intent(in) :: gamma, left(4), right(4)
      real(dp) :: flux(4)
      real(dp) :: conserved_left(4), conserved_right(4), sound_left, sound_right, speed_left, speed_right

      sound_left = sqrt(gamma*left(4)/left(1))
      sound_right = sqrt(gamma*right(4)/right(1))
      speed_left = min(left(2) - sound_left, right(2) - sound_right, 0.0_dp)
      speed_right = max(left(2) + sound_left, right(2) + sound_right, 0.0_dp)
      conserved_left = conserved(gamma, left)
      conserved_right = conserved(gamma, right)
      flux = (speed_right*physical_flux(left, conserved_left) - speed_left*physical_flux(right, conserved_right) &
         & + speed_left*speed_right*(conserved_right - conserved_left))/(speed_right - speed_left)
   end function hll

   pure function conserved(gamma, w) result(u)
      real(dp), intent(in) :: gamma, w(4)
      real(dp) :: u(4)
      u = [w(1), w(1)*w(2), w(1)*w(3), w(4)/(gamma - 1.0_dp) + 0.5_dp*w(1)*(w(2)**2 + w(3)**2)]
   end function conserved

   pure function physical_flux(w, u) result(flux)
      real(dp), intent(in) :: w(4), u(4)
      real(dp) :: flux(4)
      flux = [u(2), u(2)*w(2) + w(4), u(3)*w(2), (u(4) + w(4))*w(2)]
   end function physical_flux

end module riemann
