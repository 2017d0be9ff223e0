!> The exact solution of Sod's shock tube at time `t` (Toro, Riemann Solvers, chapter 4): left (1, 0, 1), right (1/8, 0, 1/10),
!> gamma 1.4.
module exact_sod
   use kinds, only: dp
   implicit none
   private
   public :: exact_density

   real(dp), parameter :: gamma = 1.4_dp
   real(dp), parameter :: density_left = 1.0_dp, pressure_left = 1.0_dp, density_right = 0.125_dp, pressure_right = 0.1_dp

contains

   !> Density where x - 1/2 = `speed` * t.
   pure real(dp) function exact_density(speed)
      real(dp), intent(in) :: speed
      real(dp) :: pressure, velocity, sound_left, sound_star, shock, ratio

      call star_state(pressure, velocity)
      sound_left = sqrt(gamma*pressure_left/density_left)
      ! Left of the contact a rarefaction, right of it a shock.
      sound_star = sound_left*(pressure/pressure_left)**((gamma - 1.0_dp)/(2.0_dp*gamma))
      ratio = pressure/pressure_right
      shock = sqrt(gamma*pressure_right/density_right)*sqrt((gamma + 1.0_dp)/(2.0_dp*gamma)*ratio + (gamma - 1.0_dp)/(2.0_dp*gamma))
      if (speed < -sound_left) then
         exact_density = density_left
      else if (speed < velocity - sound_star) then
         exact_density = density_left*(2.0_dp/(gamma + 1.0_dp) &
            & - (gamma - 1.0_dp)/((gamma + 1.0_dp)*sound_left)*speed)**(2.0_dp/(gamma - 1.0_dp))
      else if (speed < velocity) then
         exact_density = density_left*(pressure/pressure_left)**(1.0_dp/gamma)
      else if (speed < shock) then
         exact_density = density_right*(ratio + (gamma - 1.0_dp)/(gamma + 1.0_dp)) &
            & /(ratio*(gamma - 1.0_dp)/(gamma + 1.0_dp) + 1.0_dp)
      else
         exact_density = density_right
      end if
   end function exact_density

   !> Pressure and velocity between the waves, by bisection on the pressure.
   pure subroutine star_state(pressure, velocity)
      real(dp), intent(out) :: pressure, velocity
      real(dp) :: low, high
      integer :: k

      low = pressure_right
      high = pressure_left
      do k = 1, 200
         pressure = 0.5_dp*(low + high)
         if (velocity_behind_rarefaction(pressure) > velocity_behind_shock(pressure)) then
            low = pressure
         else
            high = pressure
         end if
      end do
      velocity = velocity_behind_shock(pressure)
   end subroutine star_state

   pure real(dp) function velocity_behind_rarefaction(pressure) result(velocity)
      real(dp), intent(in) :: pressure
      velocity = 2.0_dp*sqrt(gamma*pressure_left/density_left)/(gamma - 1.0_dp) &
         & *(1.0_dp - (pressure/pressure_left)**((gamma - 1.0_dp)/(2.0_dp*gamma)))
   end function velocity_behind_rarefaction

   pure real(dp) function velocity_behind_shock(pressure) result(velocity)
      real(dp), intent(in) :: pressure
      velocity = (pressure - pressure_right)*sqrt(2.0_dp/((gamma + 1.0_dp)*density_right) &
         & /(pressure + (gamma - 1.0_dp)/(gamma + 1.0_dp)*pressure_right))
   end function velocity_behind_shock

end module exact_sod
