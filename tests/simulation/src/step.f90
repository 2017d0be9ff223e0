!> One time step of the Euler equations: finite volumes, MUSCL, SSP-RK2 (Shu and Osher 1988), unsplit, second order in space and
!> time.
module step
   use kinds, only: dp
   use grid, only: mesh_type, n_ghosts, n_variables, fill_ghosts
   use eos, only: gas_type, to_primitive, apply_floors, i_velocity_x, i_velocity_y, i_pressure
   use reconstruction, only: limited_slopes
   use riemann, only: face_fluxes
   implicit none
   private
   public :: workspace_type, new_workspace, largest_time_step, advance

   !> Arrays that every step needs, kept between steps. Holds nothing that the next step depends on.
   type :: workspace_type
      real(dp), allocatable :: w(:, :, :), stage(:, :, :), rate(:, :, :)
   end type workspace_type

contains

   pure function new_workspace(mesh) result(work)
      type(mesh_type), intent(in) :: mesh
      type(workspace_type) :: work

      allocate (work%w(1 - n_ghosts:mesh%nx + n_ghosts, 1 - n_ghosts:mesh%ny + n_ghosts, n_variables))
      allocate (work%stage, mold=work%w)
      allocate (work%rate(mesh%nx, mesh%ny, n_variables))
      work%w = 0.0_dp
      work%stage = 0.0_dp
      work%rate = 0.0_dp
   end function new_workspace

   !> The largest stable time step: `cfl` / max((|v_x| + c) / dx + (|v_y| + c) / dy); `cfl` in (0, 1].
   subroutine largest_time_step(mesh, gas, cfl, u, work, dt)
      type(mesh_type), intent(in) :: mesh
      type(gas_type), intent(in) :: gas
      real(dp), intent(in) :: cfl
      real(dp), intent(in), contiguous :: u(1 - n_ghosts:, 1 - n_ghosts:, :)
      type(workspace_type), intent(inout) :: work
      real(dp), intent(out) :: dt
      integer :: i, j
      real(dp) :: rate, sound, fastest

      call to_primitive(gas, u, work%w)
      fastest = 0.0_dp
      do j = 1, mesh%ny
         do i = 1, mesh%nx
            sound = sqrt(gas%gamma*work%w(i, j, i_pressure)/work%w(i, j, 1))
            rate = (abs(work%w(i, j, i_velocity_x)) + sound)/mesh%dx + (abs(work%w(i, j, i_velocity_y)) + sound)/mesh%dy
            fastest = max(fastest, rate)
         end do
      end do
      dt = cfl/fastest
   end subroutine largest_time_step

   !> Takes the conserved variables `dt` further.
   subroutine advance(mesh, gas, dt, u, work, n_floored)
      type(mesh_type), intent(in) :: mesh
      type(gas_type), intent(in) :: gas
      real(dp), intent(in) :: dt
      real(dp), intent(inout), contiguous :: u(1 - n_ghosts:, 1 - n_ghosts:, :)
      type(workspace_type), intent(inout) :: work
      !> Zones that had to be lifted to a floor, over both stages; 0 in a healthy run.
      integer, intent(out) :: n_floored
      integer :: n_first, n_second, nx, ny

      nx = mesh%nx
      ny = mesh%ny
      call rate_of_change(mesh, gas, u, work%w, work%rate)
      work%stage(1:nx, 1:ny, :) = u(1:nx, 1:ny, :) + dt*work%rate
      call apply_floors(gas, mesh, work%stage, n_first)
      call rate_of_change(mesh, gas, work%stage, work%w, work%rate)
      u(1:nx, 1:ny, :) = 0.5_dp*(u(1:nx, 1:ny, :) + (work%stage(1:nx, 1:ny, :) + dt*work%rate))
      call apply_floors(gas, mesh, u, n_second)
      n_floored = n_first + n_second
   end subroutine advance

   !> -div F of every inner zone.
   subroutine rate_of_change(mesh, gas, u, w, rate)
      type(mesh_type), intent(in) :: mesh
      type(gas_type), intent(in) :: gas
      !> Conserved variables; their ghosts are filled here.
      real(dp), intent(inout), contiguous :: u(1 - n_ghosts:, 1 - n_ghosts:, :)
      real(dp), intent(inout), contiguous :: w(1 - n_ghosts:, 1 - n_ghosts:, :)
      real(dp), intent(out), contiguous :: rate(:, :, :)

      call fill_ghosts(mesh, u)
      call to_primitive(gas, u, w)
      call add_fluxes_x(mesh, gas, w, rate)
      call add_fluxes_y(mesh, gas, w, rate)
   end subroutine rate_of_change

   !> Sets `rate` to the flux differences along x.
   subroutine add_fluxes_x(mesh, gas, w, rate)
      type(mesh_type), intent(in) :: mesh
      type(gas_type), intent(in) :: gas
      real(dp), intent(in), contiguous :: w(1 - n_ghosts:, 1 - n_ghosts:, :)
      real(dp), intent(out), contiguous :: rate(:, :, :)
      integer :: j, v, nx
      real(dp) :: per_dx
      real(dp), dimension(0:mesh%nx, n_variables) :: left, right, flux
      real(dp) :: slope(0:mesh%nx + 1)

      nx = mesh%nx
      per_dx = 1.0_dp/mesh%dx
      do j = 1, mesh%ny
         do v = 1, n_variables
            call limited_slopes(nx + 2, w(-1:nx, j, v), w(0:nx + 1, j, v), w(1:nx + 2, j, v), slope)
            left(:, v) = w(0:nx, j, v) + 0.5_dp*slope(0:nx)
            right(:, v) = w(1:nx + 1, j, v) - 0.5_dp*slope(1:nx + 1)
         end do
         call face_fluxes(gas%gamma, nx + 1, left, right, flux)
         do v = 1, n_variables
            rate(:, j, v) = per_dx*(flux(0:nx - 1, v) - flux(1:nx, v))
         end do
      end do
   end subroutine add_fluxes_x

   !> Adds the flux differences along y to `rate`: a row of faces at a time, so that the inner loops run along x.
   subroutine add_fluxes_y(mesh, gas, w, rate)
      type(mesh_type), intent(in) :: mesh
      type(gas_type), intent(in) :: gas
      real(dp), intent(in), contiguous :: w(1 - n_ghosts:, 1 - n_ghosts:, :)
      real(dp), intent(inout), contiguous :: rate(:, :, :)
      !> The Riemann solver wants the normal velocity first, and gives the normal momentum first.
      integer, parameter :: order(n_variables) = [1, i_velocity_y, i_velocity_x, i_pressure]
      integer :: j, v, nx
      real(dp) :: per_dy
      real(dp), dimension(mesh%nx, n_variables) :: left, right, flux, slope, next_slope

      nx = mesh%nx
      per_dy = 1.0_dp/mesh%dy
      do v = 1, n_variables
         call limited_slopes(nx, w(1:nx, -1, order(v)), w(1:nx, 0, order(v)), w(1:nx, 1, order(v)), slope(:, v))
      end do
      do j = 0, mesh%ny
         ! The faces between rows j and j + 1.
         do v = 1, n_variables
            call limited_slopes(nx, w(1:nx, j, order(v)), w(1:nx, j + 1, order(v)), w(1:nx, j + 2, order(v)), next_slope(:, v))
            left(:, v) = w(1:nx, j, order(v)) + 0.5_dp*slope(:, v)
            right(:, v) = w(1:nx, j + 1, order(v)) - 0.5_dp*next_slope(:, v)
         end do
         slope = next_slope
         call face_fluxes(gas%gamma, nx, left, right, flux)
         do v = 1, n_variables
            if (j >= 1) rate(:, j, order(v)) = rate(:, j, order(v)) - per_dy*flux(:, v)
            if (j < mesh%ny) rate(:, j + 1, order(v)) = rate(:, j + 1, order(v)) + per_dy*flux(:, v)
         end do
      end do
   end subroutine add_fluxes_y

end module step
