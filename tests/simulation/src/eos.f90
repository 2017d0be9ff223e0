!> The ideal gas: conserved to primitive variables, floors, entropy.
module eos
   use kinds, only: dp
   use grid, only: mesh_type, n_ghosts, i_density, i_momentum_x, i_momentum_y, i_energy
   implicit none
   private
   public :: gas_type, i_velocity_x, i_velocity_y, i_pressure
   public :: to_primitive, set_zone, apply_floors, entropy

   integer, parameter :: i_velocity_x = 2, i_velocity_y = 3, i_pressure = 4

   !> Gamma law, p = (gamma - 1) (E - rho v^2 / 2), with the floors that keep a damaged zone computable.
   type :: gas_type
      real(dp) :: gamma = 1.4_dp
      real(dp) :: density_floor = 1.0e-4_dp
      real(dp) :: pressure_floor = 1.0e-5_dp
   end type gas_type

contains

   !> Primitive variables (density, velocity, pressure) of every zone, ghosts included, never below the floors.
   pure subroutine to_primitive(gas, u, w)
      type(gas_type), intent(in) :: gas
      !> Conserved variables, ghosts filled.
      real(dp), intent(in), contiguous :: u(:, :, :)
      real(dp), intent(inout), contiguous :: w(:, :, :)
      integer :: i, j
      real(dp) :: density, inverse, velocity_x, velocity_y

      do j = 1, size(u, 2)
         do i = 1, size(u, 1)
            density = max(u(i, j, i_density), gas%density_floor)
            inverse = 1.0_dp/density
            velocity_x = u(i, j, i_momentum_x)*inverse
            velocity_y = u(i, j, i_momentum_y)*inverse
            w(i, j, i_density) = density
            w(i, j, i_velocity_x) = velocity_x
            w(i, j, i_velocity_y) = velocity_y
            w(i, j, i_pressure) = max((gas%gamma - 1.0_dp)*(u(i, j, i_energy) &
               & - 0.5_dp*density*(velocity_x*velocity_x + velocity_y*velocity_y)), gas%pressure_floor)
         end do
      end do
   end subroutine to_primitive

   !> Sets one zone's conserved variables from primitive ones.
   pure subroutine set_zone(gas, density, velocity_x, velocity_y, pressure, zone)
      type(gas_type), intent(in) :: gas
      real(dp), intent(in) :: density, velocity_x, velocity_y, pressure
      real(dp), intent(out) :: zone(:)

      zone(i_density) = density
      zone(i_momentum_x) = density*velocity_x
      zone(i_momentum_y) = density*velocity_y
      zone(i_energy) = pressure/(gas%gamma - 1.0_dp) + 0.5_dp*density*(velocity_x**2 + velocity_y**2)
   end subroutine set_zone

   !> Lifts density and pressure of the inner zones to the floors, as production codes do, so that a run survives a damaged zone.
   !>
   !> Momentum is kept and energy is added; a zone with a value that is not finite is set to the floors, at rest.
   !> Zones of a healthy run are not touched, not by a bit.
   pure subroutine apply_floors(gas, mesh, u, n_floored)
      type(gas_type), intent(in) :: gas
      type(mesh_type), intent(in) :: mesh
      real(dp), intent(inout) :: u(1 - n_ghosts:, 1 - n_ghosts:, :)
      !> Number of zones that were changed.
      integer, intent(out) :: n_floored
      integer :: i, j
      logical :: healthy(mesh%nx)

      n_floored = 0
      do j = 1, mesh%ny
         do i = 1, mesh%nx
            ! Every comparison with a NaN is false, so a NaN is never healthy; an infinity makes the kinetic energy or the
            ! difference infinite or NaN.
            healthy(i) = u(i, j, i_density) >= gas%density_floor .and. u(i, j, i_energy) <= huge(1.0_dp) &
               & .and. (gas%gamma - 1.0_dp)*(u(i, j, i_energy) - 0.5_dp*(u(i, j, i_momentum_x)*u(i, j, i_momentum_x) &
               & + u(i, j, i_momentum_y)*u(i, j, i_momentum_y))/u(i, j, i_density)) >= gas%pressure_floor
         end do
         if (all(healthy)) cycle
         do i = 1, mesh%nx
            if (healthy(i)) cycle
            call lift(gas, u(i, j, :))
            n_floored = n_floored + 1
         end do
      end do
   end subroutine apply_floors

   pure subroutine lift(gas, zone)
      type(gas_type), intent(in) :: gas
      real(dp), intent(inout) :: zone(:)
      real(dp) :: kinetic

      if (.not. all(abs(zone) <= huge(1.0_dp))) then
         call set_zone(gas, gas%density_floor, 0.0_dp, 0.0_dp, gas%pressure_floor, zone)
         return
      end if
      zone(i_density) = max(zone(i_density), gas%density_floor)
      kinetic = 0.5_dp*(zone(i_momentum_x)**2 + zone(i_momentum_y)**2)/zone(i_density)
      ! The sum of a large kinetic energy and a small internal one rounds; the factor keeps the difference above the floor.
      zone(i_energy) = max(zone(i_energy), kinetic*(1.0_dp + 4.0_dp*epsilon(1.0_dp)) &
         & + 1.01_dp*gas%pressure_floor/(gas%gamma - 1.0_dp))
   end subroutine lift

   !> ln(p / rho^gamma) of a zone, dimensionless: what a fluid element keeps until a shock, or a fault, heats it.
   !> The floors are not applied: NaN for a zone without a positive density and pressure.
   pure real(dp) function entropy(gas, zone)
      use, intrinsic :: ieee_arithmetic, only: ieee_value, ieee_quiet_nan
      type(gas_type), intent(in) :: gas
      real(dp), intent(in) :: zone(:)
      real(dp) :: pressure

      entropy = ieee_value(1.0_dp, ieee_quiet_nan)
      if (.not. zone(i_density) > 0.0_dp) return
      pressure = (gas%gamma - 1.0_dp)*(zone(i_energy) - 0.5_dp*(zone(i_momentum_x)**2 + zone(i_momentum_y)**2)/zone(i_density))
      if (.not. pressure > 0.0_dp) return
      entropy = log(pressure) - gas%gamma*log(zone(i_density))
   end function entropy

end module eos
